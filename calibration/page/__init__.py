"""Pages and pictures for people: HTML that stands alone and SVG charts, in light, dark and on paper."""
