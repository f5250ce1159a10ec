"""What a shop needs to describe its products from their images, and to trust the result.

The model reads the image without knowing the product table (`reading`); a template (`composing`) or
a model (`authoring`) writes the description; `checks` compares the three. Nothing here sends a
request or keeps anything: `examples/shop` shows how a shop uses it.

- `vocabulary`: the attributes that products have, and their words in English and Chinese
- `product`: what the product table says about a product
- `description`: a description, its style and its JSON schema
- `reading`: the question about an image, and the attributes in the answer
- `composing`, `authoring`: two ways to write a description
- `checks`: findings about a description, and whether it may be published; `prices`, `claims`
- `freshness`: whether a kept description still fits its product
"""
