"""What people mean, and the words that show it: the one table from which questions are understood.

A cue is words that a question holds in this order, with others before, between and after them; `a|b` is either, LABEL
and AGENT are a name of the diagnosis. Of several cues that fit, the one of most words counts, then the first.
"""

from __future__ import annotations

from typing import Literal, get_args

Kind = Literal[
    "without", "where", "again", "compare", "record", "trust", "do", "others", "why not", "similar", "who", "sure",
    "why", "help", "thanks",
]  # fmt: skip
"""What a question asks for:

- without: what it would be without some agents. where: where the agents looked. again: that agents look again.
- compare: with the image before. record: how often it is right. trust: whether to rely on it. do: what to do now.
- others: which other labels it may be. why not: why it is not a label.
- similar: the most similar cases. who: who says what. sure: how probable it is. why: the rationale.
- help: what one may ask. thanks: nothing.
"""

CUES: dict[Kind, tuple[str, ...]] = {
    "without": (
        "without",
        "ignore|ignoring|exclude|excluding|distrust|drop|skip",
        "leave|leaving out",
        "if not trust",
        "do|did|would not trust",
    ),
    "where": (
        "where look|looked|looking|looks|see|sees|saw",
        "where in|on image|picture|photo",
        "heat map|maps",
        "heatmap|heatmaps|hotspot|hotspots",
        "which|what region|regions|part|parts|area|areas of|in",
    ),
    "again": (
        "look|check|try|diagnose|think|do again",
        "second|another|closer look",
        "recheck|reevaluate|rediagnose|relook|retry",
    ),
    "compare": (
        "compare|compared|comparison",
        "compare|difference|different|differ|same|changed last|previous|before|earlier|other",
        "like the last|previous one|image|picture",
        "versus|vs|than|from|since|to last|previous|before|earlier",
    ),
    "record": (
        "how often|frequently",
        "how often|frequently right|wrong|correct|mistaken|err",
        "how good|accurate|reliable you|panel|system|thing|model|at|with",
        "how many times|mistakes|errors wrong|right|make|get",
        "accuracy",
        "track record",
        "are|how you usually|normally|generally right|wrong",
        "success|error|hit rate",
        "how well you|it|this|panel",
        "what your|the score",
        "you|it make|makes|made many|any|lots|often mistakes|errors",
    ),
    "trust": (
        "trust|trustworthy|believe",
        "can|could|should|may i|we|one trust|believe|rely|count",
        "reliable|reliably|rely",
        "are|could|might|maybe you wrong|mistaken|right|correct",
        "is this|it|that right|correct|true|wrong|safe",
        "how reliable|trustworthy it|this|that",
        "bet|legit|legitimate|dependable|solid",
        "how much faith|weight|stock put|give",
    ),
    "do": (
        "what|now should|do|shall|can|must i|we do",
        "what now",
        "what next|happens",
        "next step|steps",
        "ok|okay|and|so now",
        "who should|can|do|could i|we call|ask|contact|tell|show",
        "does|should|must|has|need somebody|someone|anybody|anyone|person|human|expert check|look|see|review|confirm",
        "do|should i|we need|have|show|ask|send",
        "what does|is refer|referral|referred|verdict|confident mean",
        "what does|is mean",
        "treat|cure|fix|spray|repair|treatment",
    ),
    "others": (
        "what|anything|something|nothing|which else",
        "what else be",
        "other|another possibility|possibilities|option|options|label|labels|candidate|candidates|guess|answer",
        "alternative|alternatives",
        "second|next guess|best|choice",
        "what choices|options|alternatives|possibilities",
        "top three|3|two|2|five|5|labels|candidates",
        "plan b",
        "runner",
        "could|can|might it also|instead be",
    ),
    "why not": (
        "why not",
        "why not LABEL",
        "not LABEL",
        "is it|this|that LABEL",
        "could|can|might|may it|this be LABEL",
        "could|can|might|may it|this also|instead be LABEL",
        "what|how about LABEL",
        "why not say LABEL",
        "sure not LABEL",
        "what against|excludes|speaks LABEL",
        "what speaks|says against LABEL",
        "looks|seems|more like LABEL",
    ),
    "similar": (
        "similar|similarity|neighbour|neighbours|neighbors|evidence|example|examples|alike|resemble",
        "show|see|seen|any case|cases|others|ones|like",
        "lookalike|lookalikes",
        "show|see what you|it compared|used|found|matched",
        "looks|look like this|it",
    ),
    "who": (
        "who|anyone|anybody|everyone|everybody|somebody|someone",
        "which|what agent|agents|model|models",
        "which|what|how|do agent|agents|model|models say|said|think|vote|voted|against|agree|disagree",
        "agents|models|disagree|disagreed|dissent|dissenting|against|agree|agreed|vote|votes|unanimous",
        "do they|all agree|disagree",
        "what AGENT say|said|think|thought",
        "anyone|who against",
        "what|how others|each|rest|all|every say|said|think|thought|vote",
        "different|other|second opinion|opinions|view",
    ),
    "sure": (
        "how sure|certain|likely|confident|probable",
        "sure|certain|certainty|confidence|confident|likely|likelihood|probability|probable|posterior|odds|chance|percent",
    ),
    "why": (
        "why",
        "how come",
        "explain|explanation|reason|reasons|rationale|because",
        "what makes|made you|it",
        "how you know|decide|tell|conclude",
        "grounds|basis",
        "based on",
        "what led|lead|brought you",
    ),
    "help": (
        "help",
        "what can|could i|you ask|do|say",
        "what else can i|you",
        "how work|works|use",
    ),
    "thanks": (
        "thanks|thank|cheers|thankyou|ty",
        "appreciate|appreciated",
        "well|good|nice|great done|job|work",
        "ok|okay|great|perfect|nice|cool|awesome",
    ),
}  # fmt: skip

SHORT = {
    "y": "why", "u": "you", "r": "are", "ur": "your", "wat": "what", "wot": "what", "cud": "could", "shud": "should",
    "pls": "please", "plz": "please", "thx": "thanks", "tnx": "thanks", "tks": "thanks", "bc": "because",
    "whats": "what is", "whos": "who is", "hows": "how is", "whys": "why is", "im": "i am", "wont": "will not",
    "cant": "can not", "isnt": "is not", "arent": "are not", "dont": "do not", "doesnt": "does not",
    "didnt": "did not", "wasnt": "was not", "couldnt": "could not", "shouldnt": "should not", "wouldnt": "would not",
    "pics": "pictures", "pic": "picture", "imgs": "images", "prob": "probability",
}  # fmt: skip
"""How people write in a hurry, and what it stands for; apostrophes are gone by then."""


COMMON = (
    "cancel", "cause", "class", "come", "course", "curve", "greater", "most", "reply", "some", "than", "them", "then",
    "there", "those", "threat", "through", "truth", "were", "when", "where",
)  # fmt: skip
"""Words that are no misspelt cues, although they look like some."""


def words_of(cue: str) -> tuple[frozenset[str], ...]:
    """Return the words of a cue, each with what may stand in its place."""
    return tuple(frozenset(word.split("|")) for word in cue.split())


COMPILED: tuple[tuple[Kind, tuple[frozenset[str], ...]], ...] = tuple(
    (kind, words_of(cue)) for kind in get_args(Kind) for cue in CUES[kind]
)

VOCABULARY = tuple(
    sorted(
        {word for _, cue in COMPILED for words in cue for word in words if word.islower()}
        | {word for full in SHORT.values() for word in full.split()}
        | {*COMMON}
    )
)
"""The words to which a misspelt one is put right."""
