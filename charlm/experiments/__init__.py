"""How the defaults were chosen; not part of the product."""
