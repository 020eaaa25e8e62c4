"""Presidents of the United States in NLTK's speeches: who shares a name, and their parties."""

# NLTK names files after last names, which two presidents may share. The earlier one keeps it.
# For the later one: the year of the first speech, and a name in the style of NLTK's "GWBush".
LATER = {
    "Adams": (1825, "JQAdams"),
    "Harrison": (1889, "BHarrison"),
    "Roosevelt": (1933, "FDRoosevelt"),
    "Bush": (2001, "GWBush"),
}

_BY_PARTY = {
    "none": "Washington",
    "Federalist": "Adams",
    "Democratic-Republican": "Jefferson Madison Monroe JQAdams",
    "Whig": "Harrison Taylor",
    "Democratic": "Jackson VanBuren Polk Pierce Buchanan Cleveland Wilson FDRoosevelt Truman "
    "Kennedy Johnson Carter Clinton Obama Biden",
    "Republican": "Lincoln Grant Hayes Garfield BHarrison McKinley Roosevelt Taft Harding Coolidge "
    "Hoover Eisenhower Nixon Ford Reagan Bush GWBush Trump",
}

PARTIES = {name: party for party, names in _BY_PARTY.items() for name in names.split()}
"""The party of each president of whom NLTK has a speech, at the time of these speeches."""


def person(name: str, year: int) -> str:
    """Returns a name that only one president has, from the name of a file and the year.

    >>> person("Bush", 1989), person("Bush", 2005)
    ('Bush', 'GWBush')
    """
    first, other = LATER.get(name, (9999, name))
    return other if year >= first else name
