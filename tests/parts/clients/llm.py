"""The Python clients of LLM APIs: `llm.py SDK ACTION…`, each action reported as a line of JSON.

SDK is `openai`, `responses` (OpenAI's other API), `anthropic`, `ollama`, `langchain`, `langchain-ollama` or `litellm`. The
environment has
LLAMAPOOL_URL (the root), LLAMAPOOL_KEY and LLAMAPOOL_MODEL. Actions:

    list     {"saw": "list", "models": […]}
    answer   {"saw": "answer", "text": …, "input": tokens, "output": tokens}
    stream   {"saw": "stream", "text": …, "events": events with text}
    embed    {"saw": "embed", "lengths": […], "first": the first numbers}
    tool     {"saw": "tool", "calls": [[name, arguments], …]}, and `tool-stream` the same from a stream
    shape    {"saw": "shape", "value": an answer that has to be JSON of a schema}
    leave    {"saw": "leave", "text": the first text}: the stream is closed by its reader

An action that fails is {"saw": ACTION, "error": class, "status": …, "message": …, "text": what a stream had brought}. Retries are
left as the client has them, except that `answer` without them is `once`.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator

URL = os.environ["LLAMAPOOL_URL"]
KEY = os.environ["LLAMAPOOL_KEY"]
MODEL = os.environ["LLAMAPOOL_MODEL"]
ASKED = "Count to six."
MAX_TOKENS = 12
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": CITY}}
# No string, which a small model may go on with for ever.
SHAPE = {"type": "object", "properties": {"done": {"type": "boolean"}}, "required": ["done"]}
MESSAGES = [{"role": "user", "content": ASKED}]
# What a stream has brought before it fails.
brought: list[str] = []


def streamed(texts: Iterator[str | None]) -> dict:
    brought.extend(text for text in texts if text)
    return {"text": "".join(brought), "events": len(brought)}


def first(texts: Iterator[str | None], close: Callable[[], object]) -> dict:
    text = next(text for text in texts if text)
    close()
    return {"text": text}


def vectors(found: list) -> dict:
    return {"lengths": [len(vector) for vector in found], "first": [round(float(number), 5) for number in found[0][:4]]}


def openai() -> dict[str, Callable[[], dict]]:
    from openai import OpenAI

    client = OpenAI(base_url=f"{URL}/v1", api_key=KEY)
    chat = {"model": MODEL, "messages": MESSAGES, "max_tokens": MAX_TOKENS, "temperature": 0}

    def answer(of: OpenAI = client) -> dict:
        found = of.chat.completions.create(**chat)
        return {"text": found.choices[0].message.content, "input": found.usage.prompt_tokens, "output": found.usage.completion_tokens}

    def texts(stream: Iterator) -> Iterator[str | None]:
        return (chunk.choices[0].delta.content for chunk in stream if chunk.choices)

    def stream() -> dict:
        return streamed(texts(client.chat.completions.create(**chat, stream=True)))

    def leave() -> dict:
        events = client.chat.completions.create(**chat | {"max_tokens": 2000}, stream=True)
        return first(texts(events), events.close)

    def tool() -> dict:
        calls = client.chat.completions.create(**chat, tools=[TOOL]).choices[0].message.tool_calls or []
        return {"calls": [[call.function.name, json.loads(call.function.arguments)] for call in calls]}

    def tool_stream() -> dict:
        calls: dict[str, list[str]] = {}
        for chunk in client.chat.completions.create(**chat, tools=[TOOL], stream=True):
            for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
                calls.setdefault(call.id, [call.function.name, ""])[1] += call.function.arguments
        return {"calls": [[name, json.loads(arguments)] for name, arguments in calls.values()]}

    def embed() -> dict:
        found = client.embeddings.create(model=MODEL, input=["a llama", "a pool"])
        return vectors([item.embedding for item in found.data])

    return {
        "list": lambda: {"models": [model.id for model in client.models.list()]},
        "retrieve": lambda: {"model": client.models.retrieve(MODEL).id},
        "answer": answer,
        "once": lambda: answer(client.with_options(max_retries=0)),
        "stream": stream,
        "embed": embed,
        "tool": tool,
        "tool-stream": tool_stream,
        "leave": leave,
    }


def responses() -> dict[str, Callable[[], dict]]:
    from openai import OpenAI

    client = OpenAI(base_url=f"{URL}/v1", api_key=KEY)
    asked = {"model": MODEL, "input": ASKED, "max_output_tokens": MAX_TOKENS, "temperature": 0}

    def answer() -> dict:
        found = client.responses.create(**asked)
        return {"text": found.output_text, "input": found.usage.input_tokens, "output": found.usage.output_tokens}

    def stream() -> dict:
        events = client.responses.create(**asked, stream=True)
        return streamed(event.delta for event in events if event.type == "response.output_text.delta")

    return {"answer": answer, "stream": stream}


def anthropic() -> dict[str, Callable[[], dict]]:
    from anthropic import Anthropic

    client = Anthropic(base_url=URL, api_key=KEY)
    # The client of today has no temperature of its own.
    asked = {"model": MODEL, "messages": MESSAGES, "max_tokens": MAX_TOKENS, "extra_body": {"temperature": 0}}
    tools = [{"name": "get_weather", "input_schema": CITY}]

    def answer() -> dict:
        found = client.messages.create(**asked)
        return {"text": found.content[0].text, "input": found.usage.input_tokens, "output": found.usage.output_tokens}

    def stream() -> dict:
        with client.messages.stream(**asked) as events:
            return streamed(events.text_stream)

    def leave() -> dict:
        with client.messages.stream(**asked | {"max_tokens": 2000}) as events:
            return first(events.text_stream, events.close)

    def calls(content: list) -> dict:
        return {"calls": [[block.name, block.input] for block in content if block.type == "tool_use"]}

    def tool_stream() -> dict:
        with client.messages.stream(**asked, tools=tools) as events:
            return calls(events.get_final_message().content)

    return {
        "list": lambda: {"models": [model.id for model in client.models.list()]},
        "retrieve": lambda: {"model": client.models.retrieve(MODEL).id},
        "count": lambda: {"input": client.messages.count_tokens(model=MODEL, messages=MESSAGES).input_tokens},
        "answer": answer,
        "stream": stream,
        "tool": lambda: calls(client.messages.create(**asked, tools=tools).content),
        "tool-stream": tool_stream,
        "leave": leave,
    }


def ollama() -> dict[str, Callable[[], dict]]:
    from ollama import Client

    client = Client(host=URL, headers={"Authorization": f"Bearer {KEY}"})
    asked = {"model": MODEL, "messages": MESSAGES, "options": {"num_predict": MAX_TOKENS, "temperature": 0}}

    def answer() -> dict:
        found = client.chat(**asked)
        return {"text": found.message.content, "input": found.prompt_eval_count, "output": found.eval_count}

    def leave() -> dict:
        events = client.chat(**asked | {"options": {"num_predict": 2000}}, stream=True)
        return first((event.message.content for event in events), events.close)

    def shaped() -> dict:
        options = {"num_predict": 60, "temperature": 0}
        return {"value": json.loads(client.chat(**asked | {"options": options}, format=SHAPE).message.content)}

    def calls(messages: list) -> dict:
        found = [call.function for message in messages for call in message.tool_calls or []]
        return {"calls": [[function.name, dict(function.arguments)] for function in found]}

    return {
        "list": lambda: {"models": [model.model for model in client.list().models]},
        "resident": lambda: {"models": [model.model for model in client.ps().models]},
        "show": lambda: {"capabilities": client.show(MODEL).capabilities, "info": dict(client.show(MODEL).modelinfo or {})},
        "answer": answer,
        "stream": lambda: streamed(event.message.content for event in client.chat(**asked, stream=True)),
        "generate": lambda: {"text": client.generate(model=MODEL, prompt=ASKED, options=asked["options"]).response},
        "shape": shaped,
        "embed": lambda: vectors(client.embed(model=MODEL, input=["a llama", "a pool"]).embeddings),
        "tool": lambda: calls([client.chat(**asked, tools=[TOOL]).message]),
        "tool-stream": lambda: calls([event.message for event in client.chat(**asked, tools=[TOOL], stream=True)]),
        "leave": leave,
    }


def langchain() -> dict[str, Callable[[], dict]]:
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    client = ChatOpenAI(base_url=f"{URL}/v1", api_key=KEY, model=MODEL, max_tokens=MAX_TOKENS, temperature=0)

    def answer() -> dict:
        found = client.invoke(ASKED)
        return {"text": found.content, "input": found.usage_metadata["input_tokens"], "output": found.usage_metadata["output_tokens"]}

    def embed() -> dict:
        # Without the check it would fetch a tokenizer to send tokens instead of texts.
        embeddings = OpenAIEmbeddings(base_url=f"{URL}/v1", api_key=KEY, model=MODEL, check_embedding_ctx_length=False)
        return vectors(embeddings.embed_documents(["a llama", "a pool"]))

    def tool() -> dict:
        return {"calls": [[call["name"], call["args"]] for call in client.bind_tools([TOOL]).invoke(ASKED).tool_calls]}

    return {"answer": answer, "stream": lambda: streamed(chunk.content for chunk in client.stream(ASKED)), "embed": embed, "tool": tool}


def langchain_ollama() -> dict[str, Callable[[], dict]]:
    from langchain_ollama import ChatOllama, OllamaEmbeddings

    headers = {"headers": {"Authorization": f"Bearer {KEY}"}}
    client = ChatOllama(base_url=URL, model=MODEL, num_predict=MAX_TOKENS, temperature=0, client_kwargs=headers)

    def found_in_list() -> dict:
        # It has no list of its own: asked to, it looks its model up in Ollama's before the first call.
        return {"models": [ChatOllama(base_url=URL, model=MODEL, client_kwargs=headers, validate_model_on_init=True).model]}

    def answer() -> dict:
        found = client.invoke(ASKED)
        return {"text": found.content, "input": found.usage_metadata["input_tokens"], "output": found.usage_metadata["output_tokens"]}

    def leave() -> dict:
        chunks = client.stream(ASKED)
        return first((chunk.content for chunk in chunks), chunks.close)

    def tool() -> dict:
        return {"calls": [[call["name"], call["args"]] for call in client.bind_tools([TOOL]).invoke(ASKED).tool_calls]}

    def embed() -> dict:
        embeddings = OllamaEmbeddings(base_url=URL, model=MODEL, client_kwargs=headers)
        return vectors(embeddings.embed_documents(["a llama", "a pool"]))

    return {
        "list": found_in_list,
        "answer": answer,
        "stream": lambda: streamed(chunk.content for chunk in client.stream(ASKED)),
        "embed": embed,
        "tool": tool,
        "leave": leave,
    }


def litellm() -> dict[str, Callable[[], dict]]:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    from litellm import completion, embedding

    asked = {"model": f"openai/{MODEL}", "messages": MESSAGES, "max_tokens": MAX_TOKENS, "temperature": 0}
    at = {"api_base": f"{URL}/v1", "api_key": KEY}

    def answer() -> dict:
        found = completion(**asked, **at)
        return {"text": found.choices[0].message.content, "input": found.usage.prompt_tokens, "output": found.usage.completion_tokens}

    def embed() -> dict:
        found = embedding(model=f"openai/{MODEL}", input=["a llama", "a pool"], encoding_format="float", **at)
        return vectors([item["embedding"] for item in found.data])

    return {
        "answer": answer,
        "stream": lambda: streamed(chunk.choices[0].delta.content for chunk in completion(**asked, **at, stream=True)),
        "embed": embed,
    }


def main(sdk: str, names: list[str]) -> None:
    sdks = [openai, responses, anthropic, ollama, langchain, langchain_ollama, litellm]
    actions = next(of for of in sdks if of.__name__ == sdk.replace("-", "_"))()
    for name in names:
        brought.clear()
        try:
            seen = actions[name]()
        except Exception as error:
            status = getattr(error, "status_code", None)
            seen = {"error": type(error).__name__, "status": status, "message": str(error), "text": "".join(brought)}
        print(json.dumps({"saw": name, **seen}, ensure_ascii=False), flush=True)


main(sys.argv[1], sys.argv[2:])
