"""One device: operations on its objects, one after the other; what is observed; what it says of itself."""
