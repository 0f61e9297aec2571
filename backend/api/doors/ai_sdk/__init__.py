"""The AI SDK's door: `useChat` and `DefaultChatTransport` talk to Lex without an adapter.

The protocol: https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol
"""
