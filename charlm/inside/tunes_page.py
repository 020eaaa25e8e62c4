def page(*a):
    return "<!doctype html>\n<!-- charlm tunes -->\n"
