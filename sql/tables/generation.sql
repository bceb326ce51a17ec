-- One row: this file itself, as it was published.
create table generation (
    generation integer not null,
    published_at timestamptz not null,
    definitions varchar not null
);
