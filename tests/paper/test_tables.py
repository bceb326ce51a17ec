"""Rows in LaTeX: errors beside their values, everything escaped, rules of booktabs."""

import pandas as pd

import selfrepair


def test_a_table_has_errors_beside_values_and_nothing_unescaped() -> None:
    frame = pd.DataFrame(
        {
            "name": ["L1H0", "a_b & 50% {x} \\ ~^#$\n\n"],
            "self_repair": [0.61904, -12.5],
            "self_repair_se": [0.0312, None],
            "share_removed": [0.5, float("nan")],
            "n_rows": [1200, 3],
            "repaired": [True, False],
        }
    )
    frame.attrs = {"sql": "select 1\nfrom t", "generation": 7}
    assert selfrepair.latex(frame, caption="All of it: 100%", label="tab:all") == (
        "% generation 7 of the warehouse\n% select 1\n% from t\n"
        "\\begin{table}\n\\centering\n\\caption{All of it: 100\\%}\n\\label{tab:all}\n"
        "\\begin{tabular}{lrrrl}\n\\toprule\n"
        "name & self-repair & share of the direct effect removed & rows & repaired \\\\\n"
        "\\midrule\n"
        "L1H0 & $0.619 \\pm 0.031$ & $50.0$\\,\\% & 1{,}200 & yes \\\\\n"
        "a\\_b \\& 50\\% \\{x\\} \\textbackslash{} \\textasciitilde{}\\textasciicircum{}\\#\\$"
        "$\\hookleftarrow$$\\hookleftarrow$"
        " & $-12.5$ & -- & 3 & no \\\\\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )


def test_without_a_caption_it_is_the_tabular_alone() -> None:
    table = selfrepair.latex(pd.DataFrame({"layer": [1]}))
    assert table == (
        "\\begin{tabular}{r}\n\\toprule\nlayer \\\\\n\\midrule\n1 \\\\\n\\bottomrule\n"
        "\\end{tabular}\n"
    )
