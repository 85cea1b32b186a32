"""What every measure stands on: processes, parts, load generators, a small MCP client.

The one rule: nothing here knows what is measured or compared.
"""
