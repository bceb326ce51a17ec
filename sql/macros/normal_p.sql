-- One value: the two-sided p-value of a standard normal z, z >= 0: erfc(z / sqrt(2)).
-- To a relative 1.2e-7 everywhere (Numerical Recipes, section 6.2).
create macro normal_p(z) as
    list_sum(list_transform(
        [1 / (1 + z / sqrt(8))],
        lambda t: t * exp(
            -z * z / 2 - 1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418
            + t * (-0.18628806 + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587
            + t * (-0.82215223 + t * 0.17087277))))))))
        )
    ))
