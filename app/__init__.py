"""The Streamlit app: look at the published warehouse first, then ask it with SQL."""
