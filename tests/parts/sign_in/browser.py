"""A browser without scripts, and the person in front of it: `browser.py URL`, the URL of an authorization request.

It loads the page, types LLAMAPOOL_KEY where the page asks for a key and LLAMAPOOL_ID where it asks for a service, presses the button of LLAMAPOOL_DECISION (default `allow`), and
follows the redirect. With LLAMAPOOL_CALLBACK=print the redirect is printed instead, for clients that have no listener. What it did
goes to standard error, a JSON object a line, without the key.
"""

import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser

LIMIT_SECONDS = 20
MAX_REDIRECTS = 5


def saw(what: str, **facts: object) -> None:
    print(json.dumps({"saw": what, **facts}), file=sys.stderr, flush=True)


class Form(HTMLParser):
    """The one form of a page, with the values that a browser would send."""

    def __init__(self) -> None:
        super().__init__()
        self.action = None
        self.method = None
        self.values = {}
        self.buttons = {}
        self.password = None
        self.problem = None
        self._in_problem = False

    def handle_starttag(self, tag: str, attributes: list) -> None:
        found = dict(attributes)
        if found.get("role") == "alert":
            self._in_problem = True
        if tag == "form":
            assert self.action is None, "a page has one form"
            self.action, self.method = found["action"], found["method"]
        elif tag == "input" and found["type"] == "password":
            self.password = found["name"]
        elif tag == "input" and found["type"] in ("radio", "checkbox"):
            if "checked" in found:
                self.values[found["name"]] = found.get("value", "on")
        elif tag == "input":
            self.values[found["name"]] = found.get("value", "")
        elif tag == "button":
            self.buttons[found["value"]] = found["name"]

    def handle_data(self, data: str) -> None:
        if self._in_problem and self.problem is None:
            self.problem = data.strip()
            self._in_problem = False


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Gives redirects back, as they may lead to another program."""

    def redirect_request(self, *_: object) -> None:
        return None


def load(url: str, form: dict | None = None) -> tuple:
    """Returns status, headers and text of what is at a URL."""
    opener = urllib.request.build_opener(NoRedirect)
    data = None if form is None else urllib.parse.urlencode(form).encode()
    request = urllib.request.Request(url, data=data)
    request.add_header("User-Agent", "Mozilla/5.0 (a browser without scripts)")
    request.add_header("Sec-Fetch-Mode", "navigate")
    request.add_header("Sec-Fetch-Dest", "document")
    if form is not None:
        parts = urllib.parse.urlsplit(url)
        request.add_header("Origin", f"{parts.scheme}://{parts.netloc}")
        request.add_header("Sec-Fetch-Site", "same-origin")
    try:
        with opener.open(request, timeout=LIMIT_SECONDS) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers, answer.read().decode()


def allowed(url: str) -> str:
    """Walks through the pages at a URL. Returns the redirect that leads back to the client."""
    status, headers, text = load(url)
    for _ in range(MAX_REDIRECTS):
        if status in (301, 302, 303, 307, 308):
            target = urllib.parse.urljoin(url, headers["Location"])
            if "code=" in target or "error=" in target:
                saw("redirect", to=target.split("?")[0])
                return target
            url = target
            status, headers, text = load(url)
            continue
        page = Form()
        page.feed(text)
        saw("page", status=status, problem=page.problem, cookie=headers.get("Set-Cookie"))
        if page.action is None or page.problem is not None:
            sys.exit(f"the page at {url.split('?')[0]} leads nowhere: {status} {page.problem or text}")
        decision = os.environ.get("LLAMAPOOL_DECISION", "allow")
        values = dict(page.values)
        values[page.buttons[decision]] = decision
        if "id" in values:
            # The client has not said which service it is about.
            values["id"] = os.environ["LLAMAPOOL_ID"]
        if page.password is not None:
            values[page.password] = os.environ["LLAMAPOOL_KEY"]
        url = urllib.parse.urljoin(url, page.action)
        status, headers, text = load(url, values)
    sys.exit("too many pages")


def main(url: str) -> None:
    target = allowed(url)
    if os.environ.get("LLAMAPOOL_CALLBACK") == "print":
        print(target)
        return
    status, _, text = load(target)
    saw("callback", status=status)
    if status >= 400:
        sys.exit(f"the client refuses its callback: {status} {text}")


main(*sys.argv[1:])
