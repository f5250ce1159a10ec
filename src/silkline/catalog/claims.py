"""Finds claims that a shop must not make unless it can prove them, in English and Chinese.

They are those that consumer law names in most countries: superlatives, guarantees, effects on
health, certificates, the environment, safety, and hurry. A list finds what is on it; a new wording
passes. It is not legal advice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from silkline.catalog.plain_text import plain_text

_CLAIMS = {
    "superlative": (
        r"(?:the |world'?s |very )best\b|\bbest (?:in|on|of|quality|choice|seller|ever|price)|"
        r"\bbest-\w+|\b(?:no\.?|number|#)\s*(?:1|one)\b|\bunbeatable|\bunrivall?ed|\bunmatched|"
        r"\bultimate\b|\bperfect(?:ion|ly)?\b|\bflawless|\bsecond to none|\bworld[- ]class|"
        r"\bfinest\b|\bhighest quality|\btop[- ]quality|"
        r"最好|最佳|最优|最高级|最强|最低价|第一品牌|全球第一|世界第一|全国第一|国家级|世界级|顶级|"
        r"极致|独一无二|绝无仅有|史无前例|万能|完美"
    ),
    "guarantee": (
        r"\bguarante\w+|\bwarrant(?:y|ied|ies)\b|\bmoney[- ]back|\brisk[- ]free|"
        r"\b100\s?% (?:safe|satis|effect|pure|natural|reliab|secure)\w*|"
        r"\bnever (?:break|fade|wear|fail)\w*|\bunbreakable|\bindestructible|\blasts? forever|"
        r"\blifetime\b|\bproven\b|保证|保修|包退|无风险|永不|百分之百|百分百|终身"
    ),
    "health": (
        r"\bcur(?:e|es|ing)\b|\bheal(?:s|ing)?\b|\btreats?\b|\btherap\w+|\bmedical\w*|"
        r"\brelieves?\b|\bprevents? (?:disease|illness|pain)|\bpain relief|\bhealthy?\b|"
        r"\bantibacterial|\banti-?microbial|\bhypoallergenic|\b(?:clinically|"
        r"dermatolog\w+)[- ]tested|\bdetox\w*|\bimmun\w+|\bslimming|"
        r"\bweight loss|治疗|治愈|包治|疗效|药用|医用|缓解疼痛|抗菌|杀菌|排毒|减肥|保健|养生|免疫"
    ),
    "certificate": (
        r"\bcertifi(?:ed|cate)\w*|\bapproved\b|\bpatent(?:ed)?\b|\baward[- ]winning|\bofficial\b|"
        r"\bendorsed|\bfda\b|\bce[- ]mark\w*|\bauthentic\b|\bgenuine\b|\brecommended by|"
        r"认证|专利|获奖|官方|正品|权威|特供|专供|国家免检"
    ),
    "environment": (
        r"\beco[- ]?friendly|\benvironmentally|\bsustainab\w+|\bcarbon[- ]neutral|\bclimate\b|"
        r"\bbiodegradable|\bcompostable|\brecycl(?:ed|able)|\borganic\b|\bgreen choice|"
        r"\bzero[- ]waste|环保|可降解|碳中和|零碳|有机|可持续|绿色产品"
    ),
    "safety": (
        r"\bnon[- ]?toxic|\bchemical[- ]free|\bchild[- ]?(?:safe|proof)|\bfire[- ]?proof|"
        r"\bwater[- ]?proof|"
        r"\bshock[- ]?proof|\bbpa[- ]free|\bfood[- ]safe|\bsafe for\b|\bbullet[- ]?proof|"
        r"无毒|防火|防水|防震|食品级|绝对安全|婴儿可用"
    ),
    "hurry": (
        r"\blimited (?:time|offer|edition|stock)|\blast chance|\bonly \d+ left|\bwhile (?:stocks|"
        r"supplies) last|\bhurry\b|\bact (?:now|fast)|\btoday only|\bselling (?:out|fast)|"
        r"\bends (?:soon|today)|限时|限量|最后机会|仅剩|抢购|秒杀|售完即止|即将售罄"
    ),
}
_PATTERNS = {kind: re.compile(pattern) for kind, pattern in _CLAIMS.items()}


class Claim(msgspec.Struct, frozen=True):
    """A claim in a text.

    Attributes:
        kind: superlative, guarantee, health, certificate, environment, safety or hurry.
        text: As found, in lower case.
    """

    kind: str
    text: str


def claims(text: str, proven: Iterable[str] = ()) -> tuple[Claim, ...]:
    """The claims in a text, except those that the shop can prove.

    Args:
        text: In English or Chinese.
        proven: Claims as they may be written, as "waterproof"; case does not matter.
    """
    plain = plain_text(text)
    for one in sorted(map(plain_text, proven), key=len, reverse=True):
        plain = plain.replace(one, " ") if one else plain
    found = (
        Claim(kind, match[0].strip())
        for kind, pattern in _PATTERNS.items()
        for match in pattern.finditer(plain)
    )
    return tuple(dict.fromkeys(found))
