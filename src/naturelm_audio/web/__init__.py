"""The web app: pages on Gradio, their own parts in static/, and the state of each user."""
