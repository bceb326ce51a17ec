"""The router: which pages there are, over which generation, and what an error looks like.

`selfrepair app` serves it.
"""

import duckdb
import streamlit as st

from selfrepair.app.page_parts import state, surroundings
from selfrepair.app.questions import queries
from selfrepair.warehouse.errors import WarehouseError

PAGES = {
    "": [
        ("overview", "Overview", ":material/home:"),
        ("across_models", "Across models", ":material/stacked_line_chart:"),
    ],
    "One model": [
        ("model", "Model", ":material/grid_on:"),
        ("head", "Head", ":material/center_focus_strong:"),
        ("token", "Token", ":material/notes:"),
        ("compare", "Compare", ":material/compare_arrows:"),
        ("trust", "Trust", ":material/verified:"),
        ("neurons", "Neurons", ":material/bubble_chart:"),
        ("self_reinforcement", "Self-reinforcement", ":material/autorenew:"),
    ],
    "Ask": [
        ("paper", "Paper", ":material/article:"),
        ("sql", "SQL", ":material/terminal:"),
        ("glossary", "Glossary", ":material/menu_book:"),
    ],
}


def main() -> None:
    """One script run."""
    st.set_page_config(
        page_title="Self-repair", page_icon="🩹", layout="wide", initial_sidebar_state=230
    )
    surroundings.style()
    page = st.navigation(
        {
            section: [
                st.Page(
                    f"app_pages/{name}.py",
                    title=title,
                    icon=icon,
                    url_path=name,
                    default=name == "overview",
                )
                for name, title, icon in pages
            ]
            for section, pages in PAGES.items()
        }
    )
    state.begin(page.url_path)
    above = st.container()
    try:
        generation = queries.newest_generation()
        st.session_state["generation"] = generation
        surroundings.sidebar(generation)
        page.run()
        with above:
            surroundings.say_what_links_ask_in_vain()
        surroundings.words_used(page.url_path or "overview")
        state.finish()
    except WarehouseError as error:
        st.error(str(error), icon=":material/folder_off:")
    except duckdb.InterruptException:
        st.error(
            f"This took longer than {queries.SECONDS} s and was stopped. Choose fewer runs or a "
            "smaller set of rows, or ask on the SQL page.",
            icon=":material/timer_off:",
        )
    except duckdb.OutOfMemoryException:
        st.error(
            "This needs more memory than the app may use. Choose fewer runs or a smaller set of "
            "rows, or ask with `selfrepair sql`.",
            icon=":material/memory:",
        )
    except duckdb.Error as error:
        st.error(
            "This warehouse could not answer. If it was published by an older version, publish it "
            f"again with `selfrepair publish`. ({str(error).splitlines()[0]})",
            icon=":material/error:",
        )


if __name__ == "__main__":  # also true where Streamlit runs it
    main()
