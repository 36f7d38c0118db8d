"""The classes of data sets: names, colours, ids and maps between them."""
