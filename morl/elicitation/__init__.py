"""Choose a policy by comparing two outcomes at a time: a posterior over utilities, and the policy of least regret.

```python
session = Session(points, ["speed", "energy"])
while (question := session.question) is not None:
    session.answer(ask(points[question.left], points[question.right]))  # "left", "right", "equal" or "neither"
session.recommendation.row
```
"""

from morl.elicitation.posterior import ANSWERS, KINDS, Response
from morl.elicitation.session import (
    Answer,
    Preference,
    Question,
    Session,
    SessionRecord,
    SessionSettings,
    parse_session,
)

__all__ = [
    "ANSWERS",
    "KINDS",
    "Answer",
    "Preference",
    "Question",
    "Response",
    "Session",
    "SessionRecord",
    "SessionSettings",
    "parse_session",
]
