"""What a language model's words may not say: addresses, and whether a person is needed, where that is not so.

Whether a person should look is the policy's to say. The words are English or not read; so whatever they say, they stand
in quotation marks as the model's, and the record's own verdict beside them.
"""

from __future__ import annotations

import re
import unicodedata

from consilience.core.errors import RefusedWordsError

_ADDRESS = re.compile(
    r"\b[a-z][a-z0-9+.-]*://|\bwww\.|\b(?:mailto|tel|javascript|data):\S|[\w.+-]+@[\w-]+\.\w|\b\d{1,3}(?:\.\d{1,3}){3}\b"
    r"|\b[\w-]+(?:\.[\w-]+)*\.(?:ai|app|biz|cc|ch|cn|co|com|de|dev|edu|eu|gov|info|io|link|ly|me|net|online|org|ru|shop"
    r"|site|tk|top|uk|us|xyz)\b|\b[\w-]+\.[a-z]{2,}/\S"
)
_CLAUSES = re.compile(
    r"[.,;:!?()\n]+|\b(?:and|but|so|because|since|as|therefore|hence|thus|while|although|though|which|who)\b"
)
_PERSON = re.compile(
    r"\b(?:person|people|human|humans|expert|experts|specialist|doctor|nobody|somebody|someone|anyone|anybody|no one"
    r"|reviewer|review|referral|refer|inspection|follow-?up|second opinion)\b"
)
_NEED = re.compile(
    r"\b(?:needs?|needed|needn't|requires?|required|necessary|unnecessary|must|should|shall|ha[sd] to|have to|ought"
    r"|looks?|check(?:s|ed)?|warrants?|warranted|refer(?:red)?|called for|worth|involve[sd]?|redundant|superfluous)\b"
)
_NO = re.compile(r"\b(?:no|not|never|nobody|none|without|nor|unnecessary|redundant|superfluous|cannot)\b|n't\b")
_SAFE = re.compile(
    r"\b(?:safe|safely|fine|ok|okay|free)\s+to\s+(?:accept|trust|rely|skip|proceed|act|use)\b"
    r"|\bcan\s+(?:be\s+)?(?:safely\s+)?(?:accepted|trusted|relied|skipped|skip)\b"
)
_SETTLED = re.compile(r"\b(?:is|was|been|considered|case)\s+(?!not\b|never\b|un)(?:\w+\s+)?(?:settled|closed)\b")


def check_words(words: str, is_settled: bool | None) -> None:
    """Look that a text may stand beside a diagnosis; `is_settled` as for `contradicts`.

    Raises:
        RefusedWordsError: it may not.
    """
    if address_in(words):
        raise RefusedWordsError("its words hold an address; leave it out")
    if contradicts(words, is_settled):
        raise RefusedWordsError("its words say whether a person should look; the verdict alone does, leave it out")


def address_in(words: str) -> str:
    """Return the first address (of a page, a machine or a mailbox) in a text; empty if there is none."""
    found = _ADDRESS.search(_plain(words))
    return "" if found is None else found[0]


def contradicts(words: str, is_settled: bool | None) -> bool:
    """Return whether a text says that nobody needs to look, or what the verdict does not.

    Args:
        words: of the model.
        is_settled: the verdict; None: it is still to come, and nothing may be said of it.
    """
    if (_SAFE.search(plain := _plain(words)) or _SETTLED.search(plain)) and not is_settled:
        return True
    for clause in _CLAUSES.split(plain):
        if _PERSON.search(clause) and _NEED.search(clause):
            says_nobody = _NO.search(clause) is not None  # never ours: an alarm over the whole batch may come later
            if says_nobody or is_settled is not False:
                return True
    return False


def _plain(words: str) -> str:
    """Return a text in small letters of one form, without those that cannot be seen."""
    folded = unicodedata.normalize("NFKC", words).casefold().replace("’", "'")
    return "".join(sign for sign in folded if unicodedata.category(sign) != "Cf")
