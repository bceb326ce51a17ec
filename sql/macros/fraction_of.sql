-- One value: part / whole, as a plain ratio of a token's numbers.
-- Infinite with the part's sign where the whole is 0, null where both are (0/0 is NaN in the
-- authors' code, and their means leave NaN out); the same under every setting of DuckDB.
create macro fraction_of(part, whole) as
    case
        when whole <> 0 then part::double / whole
        when part <> 0 then sign(part) * 'infinity'::double
    end
