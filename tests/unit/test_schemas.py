"""Shapes of answers: a record that is written as it is has just the fields that the contract names."""

import marshmallow as ma
import pytest

from mlsys import records
from mlsys.api import schemas


class LessOut(schemas.RecordOut):
    record = records.Blob

    sha256 = ma.fields.String()
    size = ma.fields.Integer()


def test_record__with_an_attribute_that_its_schema_lacks_is_refused() -> None:
    with pytest.raises(TypeError, match="LessOut is not the shape of Blob"):
        LessOut()
