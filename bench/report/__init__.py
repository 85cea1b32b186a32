"""What is made of samples: figures, a table, pictures, and their place in the documents.

The one rule: nothing here measures, and nothing is said that no sample says.
"""
