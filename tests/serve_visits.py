"""Somebody who is signed in, as their browser asks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from httpx import Response
from starlette.testclient import TestClient

from duoscan.worklist.store.accounts import Role, SessionKind, open_session, read_session
from duoscan.worklist.store.store import Store
from serve_parts import account

PASSWORD = "correct horse battery"


@dataclass
class Visitor:
    """One session."""

    client: TestClient
    account: str
    token: str
    csrf: str

    def send(self, method: str, path: str, headers: dict[str, str] | None = None, **told: Any) -> Response:
        self.client.cookies.clear()
        own = {"cookie": f"duoscan={self.token}", "X-CSRF-Token": self.csrf}
        return self.client.request(method, path, headers=own | (headers or {}), **told)

    def get(self, path: str, headers: dict[str, str] | None = None, **query: str) -> Response:
        return self.send("GET", path, headers, **({"params": query} if query else {}))

    def post(self, path: str, **form: str) -> Response:
        return self.send("POST", path, data=form)

    def upload(self, files: dict[str, bytes]) -> int:
        """Status of the last request."""
        begun = self.send("POST", "/api/v1/uploads").json()["id"]
        for number, (name, content) in enumerate(files.items()):
            where = f"/api/v1/uploads/{begun}/files/{number}"
            answer = self.send("PUT", where, params={"name": name}, content=content)
            if answer.status_code != 204:
                return answer.status_code
        return self.send("POST", f"/api/v1/uploads/{begun}/complete").status_code


def sign_in(client: TestClient, store: Store, name: str = "anna", role: Role = Role.READER) -> Visitor:
    who, now = account(store, name, role), time.time()
    with store.database.write() as connection:
        token = open_session(connection, who, SessionKind.BROWSER, now=now, lasts_s=3600)
        session = read_session(connection, token, now=now)
    assert session is not None
    return Visitor(client, who, token, session.csrf)
