-- One value: the two-sided p-value of an estimate, by Student's t of its standard error.
-- With n_clusters - 1 degrees of freedom; null where there is no error. P(|T| > |t|) = 1 - A(t),
-- where A is a finite sum for whole degrees of freedom (Abramowitz & Stegun 26.7.3 and 26.7.4).
-- Beyond 1,000 degrees of freedom the normal approximation 26.7.8 takes its place, with the
-- complementary error function to a relative 1.2e-7 (Numerical Recipes, section 6.2).
create macro student_p(estimate, error, n_clusters) as
    case
        when error is null or estimate is null then null
        when error = 0 then if(estimate = 0, 1, 0)::double
        when n_clusters > 1001
            then normal_p(
                abs(estimate / error) * (1 - 1 / (4 * (n_clusters - 1)))
                / sqrt(1 + (estimate / error) ** 2 / (2 * (n_clusters - 1)))
            )
        else student_p_exact(abs(estimate / error), (n_clusters - 1)::integer)
    end
