"""Folders of pictures, labelled: what is asked of each, a journal of the answers, and data sets made of it."""
