-- One row per Parquet file that holds rows of a published run beside this file.
-- Rows of large runs lie there, so that publishing another run neither reads nor copies them; the
-- tables and views of this file show them with all others. Paths are from the warehouse's folder:
-- a DuckDB that is started elsewhere finds them after `set file_search_path = '<that folder>'`.
create table parquet_files (
    run_id varchar not null,
    table_name varchar not null,
    file varchar not null,
    n_rows bigint not null,
    n_bytes bigint not null
);
