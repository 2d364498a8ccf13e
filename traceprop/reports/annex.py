"""The points of Annex III of Regulation (EU) 2024/1689 (the AI Act), by the short names that people write for them.

The descriptions are short paraphrases that help a reader find the point; the regulation's text is what counts. Which
point a system falls under is stated by whoever asks for the report, and repeated in it; nothing here decides it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from traceprop.errors import ReportError

REGULATION = "Regulation (EU) 2024/1689, Annex III"

AREAS = {
    1: "biometrics",
    2: "critical infrastructure",
    3: "education and vocational training",
    4: "employment, workers' management and access to self-employment",
    5: "access to essential private services and essential public services and benefits",
    6: "law enforcement",
    7: "migration, asylum and border control management",
    8: "administration of justice and democratic processes",
}

POINTS = {
    "1(a)": "remote biometric identification",
    "1(b)": "biometric categorisation by sensitive or protected attributes",
    "1(c)": "emotion recognition",
    "3(a)": "access or admission to education, or assignment to institutions",
    "3(b)": "evaluation of learning outcomes",
    "3(c)": "assessment of the level of education that a person will receive or can access",
    "3(d)": "monitoring of prohibited behaviour during tests",
    "4(a)": "recruitment and selection",
    "4(b)": "decisions on work relationships, allocation of tasks, monitoring and evaluation",
    "5(a)": "eligibility for essential public assistance benefits and services",
    "5(b)": "creditworthiness and credit scores of natural persons, other than detection of financial fraud",
    "5(c)": "risk assessment and pricing in life and health insurance",
    "5(d)": "evaluation of emergency calls and dispatch of emergency services",
    "6(a)": "risk of a person becoming the victim of a crime",
    "6(b)": "polygraphs and similar tools in law enforcement",
    "6(c)": "reliability of evidence",
    "6(d)": "risk of a person offending or re-offending",
    "6(e)": "profiling in the detection, investigation or prosecution of crime",
    "7(a)": "polygraphs and similar tools in migration, asylum and border control",
    "7(b)": "assessment of risks posed by a person who enters",
    "7(c)": "examination of applications for asylum, visa or residence permits",
    "7(d)": "detection, recognition or identification of persons at borders",
    "8(a)": "assistance to judicial authorities",
    "8(b)": "influence on elections or voting behaviour",
}

_WRITTEN = re.compile(r"\s*(?:annex\s*iii\b[\s,:.]*)?(?:point\s*)?([1-8])\s*\.?\s*(?:\(?([a-e])\)?)?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AnnexPoint:
    """One point of Annex III, such as 5(b): its area, and in short what it is about."""

    point: str
    area: str
    about: str | None

    def __str__(self) -> str:
        about = f": {self.about}" if self.about else ""
        return f"{REGULATION}, point {self.point} ({self.area}{about})"


def annex_point(written: str) -> AnnexPoint:
    """Return the point that `written` names: `"5(b)"`, `"5b"`, `"5"`, `"Annex III, point 5(b)"`.

    Raises ReportError where Annex III has no such point, so that a slip of the pen doesn't end up in a report.
    """
    match = _WRITTEN.fullmatch(str(written))
    if match:
        area, letter = int(match[1]), (match[2] or "").lower()
        point = f"{area}({letter})" if letter else str(area)
        if not letter or point in POINTS:
            return AnnexPoint(point, AREAS[area], POINTS.get(point))
    raise ReportError(
        f"high_risk_category={written!r} is not a point of {REGULATION}: write one such as '5(b)' "
        f"(areas 1 to 8; letters: {', '.join(POINTS)}), or leave it out"
    )
