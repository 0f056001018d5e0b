"""The examples that RFC 7617 gives for Basic, and RFC 9110 for challenges."""

from __future__ import annotations

# §2 and §2.1: user, password, the value of Authorization.
CREDENTIALS = [
    ("Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
    ("test", "123\u00a3", "Basic dGVzdDoxMjPCow=="),
]

# §2 and §2.1, and RFC 9110 §11.6.1: the value of WWW-Authenticate, and what it means.
CHALLENGES = [
    ('Basic realm="WallyWorld"', [("basic", {"realm": "WallyWorld"})]),
    ('Basic realm="foo", charset="UTF-8"', [("basic", {"realm": "foo", "charset": "UTF-8"})]),
    (
        'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""',
        [
            ("basic", {"realm": "simple"}),
            ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
        ],
    ),
]
