"""A shop that describes its products with a vision-language model; see docs/shop.md."""
