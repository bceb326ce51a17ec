-- One list: i / 100 of n for i = 0 to 100, rounded to whole numbers, halves to even ones.
create macro hundredths_of(n) as
    list_transform(range(0, 101), lambda i: round_even(i * n / 100.0, 0)::bigint)
