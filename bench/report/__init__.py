"""The report on samples: figures, tables, pictures, and their place in the documents.

Nothing here measures, and every statement comes from a sample.
"""
