"""placeholder"""

import streamlit as st

from app import frame

serving = frame.serving_or_stop("trust")
st.title("trust")
