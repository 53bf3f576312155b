"""Bodies: rows in all their formats, JSON that is too deep or too much, forms, compression."""

import functools
import gzip
import io
import json
import pickle
from collections.abc import Callable

import front
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from security.table import Attack, rows, send

CSV, PARQUET, JSON, FORM = "text/csv", "application/vnd.apache.parquet", "application/json", "multipart/form-data; boundary=x"
GOOD = b"time,power,note\n2020-01-01T00:00:00Z,1,a\n"


class Evil:
    """Unpickled, it would leave a file."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (eval, ("open('/tmp/mlsys-unpickled', 'w').close()",))


def upload(type: str, data: bytes, **headers: str) -> Attack:
    return send("POST", "/datasets/site/rows", data, Content_Type=type, **headers)


def body(data: bytes, type: str = JSON, path: str = "/job/train", **headers: str) -> Attack:
    return send("POST", path, data, Content_Type=type, **headers)


def parquet(frame: pd.DataFrame, **how: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), sink, **how)
    return sink.getvalue()


def repeated(count: int, note: str = "x") -> bytes:
    """One row so many times: a few kilobytes, whatever the count, and each text stored once."""
    times = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int8)), pa.array([pd.Timestamp("2020-01-01", tz="UTC")]))
    notes = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int8)), pa.array([note]))
    sink = io.BytesIO()
    pq.write_table(pa.table({"time": times.dictionary_decode(), "power": np.ones(count), "note": notes}), sink, compression="zstd")
    return sink.getvalue()


def form(parts: int) -> bytes:
    return b"".join(b'--x\r\nContent-Disposition: form-data; name="f%d"\r\n\r\n1\r\n' % i for i in range(parts)) + b"--x--\r\n"


def free(type: str, data: bytes) -> Attack:
    """To the data set whose columns its first rows decide."""
    return body(data, type, "/datasets/free/rows")


def odd(values: pa.Array, name: str = "odd") -> bytes:
    """A parquet file with a time and one column of another kind."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"time": pa.array([pd.Timestamp("2020-01-01", tz="UTC")]), name: values}), sink)
    return sink.getvalue()


def chunked(*lines: bytes) -> Attack:
    return lambda t: t.send("POST", "/job/train", b"".join(lines), {"Content-Type": JSON, "Transfer-Encoding": "chunked"})


def lazily(make: Callable[[], tuple[str, bytes]]) -> Attack:
    """Made when it is sent: it is large."""
    return lambda target: upload(*make())(target)


TRAIN = json.dumps(front.TRAIN).encode()
WHOLE = parquet(front.hourly(3).rename(columns={"wind": "note"}).assign(note="a"))
ROWS = [
    *rows(
        "parquet",
        ("nothing", upload(PARQUET, b""), "400"),
        ("only the magic", upload(PARQUET, b"PAR1PAR1"), "400"),
        ("half", upload(PARQUET, WHOLE[: len(WHOLE) // 2]), "400"),
        ("footer that is longer than the file", upload(PARQUET, WHOLE[:-8] + b"\xff\xff\xff\x7fPAR1"), "400"),
        ("footer of nothing", upload(PARQUET, WHOLE[:-8] + b"\0\0\0\0PAR1"), "400"),
        ("bytes changed in the footer", upload(PARQUET, WHOLE[:-60] + b"\xff" * 40 + WHOLE[-20:]), "400"),
        ("pages of zeros", upload(PARQUET, b"PAR1" + b"\0" * 900 + WHOLE[904:]), "400"),
        ("3 million rows in some kilobytes", lazily(lambda: (PARQUET, repeated(3_000_000))), "413"),
        ("a text of 16 MiB in 1,000 rows, stored once", lazily(lambda: (PARQUET, repeated(1000, "x" * 2**24))), "422 note"),
        ("lists", free(PARQUET, odd(pa.array([[1, 2]]))), "422 odd"),
        ("a tree of 100 levels", free(PARQUET, odd(pa.array([functools.reduce(lambda inner, _: {"a": inner}, range(100), 1)]))), "400"),
        ("bytes", free(PARQUET, odd(pa.array([b"\0\xff"]))), "422 odd"),
        ("durations", free(PARQUET, odd(pa.array([1], pa.duration("s")))), "422 odd"),
        ("a column of the server's", free(PARQUET, odd(pa.array([1]), "_mlsys_file")), "422 _mlsys_file"),
        ("a column without a name", free(PARQUET, odd(pa.array([1]), " ")), "422"),
        ("a pickle", upload(PARQUET, pickle.dumps(Evil())), "400"),
        ("CSV that calls itself parquet", upload(PARQUET, GOOD), "400"),
        ("compressed by gzip", upload(PARQUET, gzip.compress(WHOLE), Content_Encoding="gzip"), "415"),
    ),
    *rows(
        "CSV",
        ("nothing", upload(CSV, b""), "400"),
        ("no header", upload(CSV, b"\n\n\n"), "400"),
        ("ragged: too few", upload(CSV, GOOD + b"2020-01-01T01:00:00Z\n"), "422 rows"),
        ("ragged: too many", upload(CSV, GOOD + b"2020-01-01T01:00:00Z,1,a,b,c\n"), "422 rows"),
        ("a quote that never ends", upload(CSV, GOOD + b'2020-01-01T01:00:00Z,1,"' + b"x" * 5000), "422 note"),
        ("a line of 4 MiB", upload(CSV, GOOD + b"2020-01-01T01:00:00Z,1," + b"x" * 2**22 + b"\n"), "413"),
        ("a header of 2 MiB", upload(CSV, b"x" * 2**21), "400"),
        ("100,000 columns", upload(CSV, b",".join(b"c%d" % i for i in range(100_000)) + b"\n1\n"), "413"),
        ("no UTF-8", upload(CSV, GOOD + b"2020-01-01T01:00:00Z,1,\xff\xfe\n"), "400"),
        ("UTF-16", upload(CSV, GOOD.decode().encode("utf-16")), "400"),
        ("NUL", upload(CSV, GOOD + b"2020-01-01T01:00:00Z,1\0,a\n"), "422 power"),
        ("infinity", upload(CSV, GOOD + b"2020-01-01T01:00:00Z,inf,a\n"), "422 power"),
        ("a formula for a number", upload(CSV, GOOD + b"2020-01-01T01:00:00Z,=1+1,a\n"), "422 power"),
        ("a column of the server's", upload(CSV, b"time,power,note,_mlsys_file\n2020-01-01T00:00:00Z,1,a,1\n"), "422 _mlsys_file"),
        ("the same column twice", upload(CSV, b"time,power,power,note\n2020-01-01T00:00:00Z,1,1,a\n"), "422 power"),
        ("year 300000", upload(CSV, GOOD + b"300000-01-01T00:00:00Z,1,a\n"), "422 time"),
        ("compressed by gzip", upload(CSV, gzip.compress(GOOD), Content_Encoding="gzip"), "415"),
        ("a bomb of 1 GiB in 1 MiB", upload(CSV, b"time,power,note\n" + b"\0" * 2**20, Content_Encoding="deflate"), "415"),
        ("gzip that says nothing of it", upload(CSV, gzip.compress(b"0" * 2**20)), "400"),
        ("a spreadsheet", upload("application/vnd.ms-excel", b"x"), "415"),
    ),
    *rows(
        "JSON rows",
        ("2,001 columns", free(JSON, json.dumps([{"time": "2020-01-01", **{f"c{i}": 1 for i in range(2001)}}]).encode()), "413"),
        ("lists for numbers", free(JSON, b'[{"time": "2020-01-01T00:00:00Z", "a": [1]}]'), "422 a"),
        ("no array", upload(JSON, b'{"a": 1}'), "400"),
        ("100,000 brackets", upload(JSON, b"[" * 100_000), "400"),
        ("100,000 brackets in a row", upload(JSON, b'[{"time": ' + b"[" * 100_000), "400"),
        ("an array that does not end", upload(JSON, b'[{"time": "2020-01-01T00:00:00Z", "power": 1, "note": "a"},'), "400"),
        ("something after the end", upload(JSON, b"[] []"), "400"),
        ("NaN", upload(JSON, b'[{"time": "2020-01-01T00:00:00Z", "power": NaN, "note": "a"}]'), "422 power"),
        ("a key twice", upload(JSON, b'[{"time": "2020-01-01T00:00:00Z", "power": 1, "power": 2, "note": "a"}]'), "422 power"),
        ("an object for a number", upload(JSON, b'[{"time": "2020-01-01T00:00:00Z", "power": {"a": 1}, "note": "a"}]'), "422 power"),
        (
            "a number of 5,000 digits",
            upload(JSON, b'[{"time": "2020-01-01T00:00:00Z", "power": ' + b"9" * 5000 + b', "note": "a"}]'),
            "400",
        ),
        ("a row of 5 MiB", upload(JSON, b'[{"time": "' + b"x" * (5 * 2**20) + b'"}]'), "413"),
        ("half a surrogate pair", upload(JSON, b'[{"time": "2020-01-01T00:00:00Z", "power": 1, "note": "\\ud800"}]'), "400"),
        (
            "lines of which one is none",
            upload("application/x-ndjson", b'{"time": "2020-01-01T00:00:00Z", "power": 1, "note": "a"}\nx\n'),
            "400",
        ),
    ),
    *rows(
        "JSON",
        ("10,000 brackets", body(b"[" * 10_000), "400"),
        ("100,000 braces", body(b'{"a":' * 100_000), "400"),
        ("33 levels", body(b'{"params":' * 33 + b"1" + b"}" * 33), "400"),
        ("100,000 values", body(b"[" + b"1," * 100_000 + b"1]"), "400"),
        ("50,000 keys", body(json.dumps(dict.fromkeys(map(str, range(50_000)))).encode()), "400"),
        ("a key twice", body(TRAIN[:-1] + b', "model_name": "quick"}'), "422 model_name"),
        ("NaN", body(TRAIN[:-1] + b', "priority": NaN}'), "422 priority"),
        ("infinity", body(TRAIN[:-1] + b', "priority": 1e999}'), "422 priority"),
        ("a number of 100,000 digits", body(TRAIN[:-1] + b', "priority": ' + b"9" * 100_000 + b"}"), "400"),
        ("UTF-16", body(TRAIN.decode().encode("utf-16")), "400"),
        ("bytes that are no UTF-8", body(b'{"model_name": "\xff"}'), "400"),
        ("a comment", body(TRAIN + b"// x"), "400"),
        ("single quotes", body(b"{'model_name': 'quick'}"), "400"),
        ("pickle", body(pickle.dumps(Evil())), "400"),
        ("YAML", body(b"model_name: quick", "application/yaml"), "415"),
        ("no type", send("POST", "/job/train", TRAIN), "415"),
        ("type of a form, as another site may send it", body(TRAIN, "text/plain"), "415"),
        ("gzip", body(gzip.compress(TRAIN), Content_Encoding="gzip"), "415"),
        ("2 MiB", body(b" " * 2**21 + TRAIN), "413"),
        ("2 MiB in chunks", chunked(b"%x\r\n" % 2**21, b" " * 2**21, b"\r\n0\r\n\r\n"), "413"),
        ("a chunk of a negative size", chunked(b"-1\r\n", b"x\r\n0\r\n\r\n"), "400"),
        ("a chunk whose size is none", chunked(b"zz\r\n", b"x\r\n0\r\n\r\n"), "400"),
    ),
    *rows(
        "forms",
        ("for a command", body(b"model_name=quick&start_date=2020-01-01", "application/x-www-form-urlencoded"), "415"),
        ("of 100,000 parts", body(form(15_000), FORM), "415"),
        ("of 100,000 parts, as rows", upload(FORM, form(100_000)), "415"),
        ("of 100,000 fields", body(b"&".join(b"f%d=1" % i for i in range(100_000)), "application/x-www-form-urlencoded"), "415"),
        ("query of 10,000 fields", send("GET", "/runs?" + "&".join(f"f{i}=1" for i in range(10_000))), "422 50 fields"),
    ),
]
