"""The foundation of every measure: processes, parts, load generators, a small MCP client.

Nothing here depends on a measure or a path.
"""
