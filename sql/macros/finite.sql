-- One value: x where it is a finite number, else null.
create macro finite(x) as
    case
        when isfinite(x) then x
    end
