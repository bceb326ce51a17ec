"""placeholder"""

import streamlit as st

from app import frame

serving = frame.serving_or_stop("self_reinforcement")
st.title("self_reinforcement")
