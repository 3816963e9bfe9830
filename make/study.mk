# make studies         every study of examples at a reduced size, into runs/studies; eight minutes on 2 cores
# make studies-full    at the size that is quoted, into docs/studies, and then the gallery; forty minutes
# make gallery         the README's lines about the studies, and docs/studies/README.md, from the tables

STUDIES := $(shell grep -l '^from gan.study import' examples/*.py)

.PHONY: studies studies-full gallery

studies: install
	for study in $(STUDIES); do $(BIN)/python $$study || exit 1; done

studies-full: install
	for study in $(STUDIES); do $(BIN)/python $$study --full --out docs/studies || exit 1; done
	$(MAKE) gallery

gallery: install
	$(BIN)/python -m tools.gallery
