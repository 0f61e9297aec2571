"""The door for AG-UI, the protocol of `HttpAgent` and CopilotKit.

It is described at https://docs.ag-ui.com/concepts/events.
"""
