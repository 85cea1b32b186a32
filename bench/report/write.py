def write_all(result):
    pass
