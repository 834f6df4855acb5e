"""Does masking help a model that sees? Visual questions asked with the whole image and with the masked one."""
