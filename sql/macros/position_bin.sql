-- One value: the first position of the bin that at_position is in.
-- Positions 0 to 7 are bins of their own; beyond, a bin ends at each power of two and half-way to
-- the next: 8 to 11, 12 to 15, 16 to 23, 24 to 31, 32 to 47 and so on. (Half a position is added
-- because the logarithm of a power of two may be a little less than whole.)
create macro position_bin(at_position) as
    case
        when at_position < 8 then at_position
        when 2 * at_position >= 3 * (1 << floor(log2(at_position + 0.5))::integer)
            then 3 * (1 << (floor(log2(at_position + 0.5))::integer - 1))
        else 1 << floor(log2(at_position + 0.5))::integer
    end
