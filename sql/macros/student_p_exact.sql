-- One value: the two-sided p-value of Student's t >= 0 with a whole number of degrees of freedom.
-- 1 - A(t), a finite sum of powers of cos^2 = df / (df + t^2) (Abramowitz & Stegun 26.7.3, 26.7.4).
create macro student_p_exact(t, df) as
    greatest(0, 1 - case
        when df % 2 = 0
            then t / sqrt(df + t * t) * list_sum(list_transform(
                range(0, df // 2),
                lambda j: exp(
                    lgamma(j + 0.5::double) - lgamma(j + 1::double) - ln(pi()) / 2
                    + j * ln(df / (df + t * t))
                )
            ))
        else 2 / pi() * (
            atan(t / sqrt(df))
            + t * sqrt(df) / (df + t * t) * coalesce(list_sum(list_transform(
                range(0, (df - 1) // 2),
                lambda j: exp(
                    lgamma(j + 1::double) - lgamma(j + 1.5::double) + ln(pi()) / 2 - ln(2)
                    + j * ln(df / (df + t * t))
                )
            )), 0)
        )
    end)
