-- One value: x cut to [0, 1], infinities included; null stays null.
-- The paper's remedy for fractions with extreme values (appendix A).
create macro clipped(x) as
    case
        when x < 0 then 0::double
        when x > 1 then 1::double
        else x::double
    end
