"""Split inference: read a quantised model, plan it over tiny devices, pack each part, check it to the byte."""
