"""Fields with a form of their own: names, cron expressions, dates, durations, numbers, hyper-parameters."""

from typing import Any

import front

from security.table import Attack, get, post, rows

WEBHOOK = {"url": "http://127.0.0.1:1/", "events": ["*"], "enabled": False}


def train(**changes: Any) -> Attack:
    return post("/job/train", front.TRAIN | {"promote": "never"} | changes)


def params(**changes: Any) -> Attack:
    return train(params=changes)


def schedule(**changes: Any) -> Attack:
    usual = {"name": "attack", "kind": "train", "model_name": "quick", "cron": "@yearly", "window": {"start": "-P30D", "end": "PT0S"}}
    return post("/schedules", usual | changes)


def dataset(**changes: Any) -> Attack:
    return post("/datasets", {"name": "attack", "timestamp": "time"} | changes)


def backtest(**changes: Any) -> Attack:
    return post("/models/quick/backtest", {"start_date": "2020-03-01", "end_date": "2020-03-02", "step": "P1D"} | changes)


ROWS = [
    *rows(
        "names",
        ("model that is a number", train(model_name=7), "422 model_name"),
        ("model that is a list", train(model_name=["quick"]), "422 model_name"),
        ("model that is an object", train(model_name={"$ne": ""}), "422 model_name"),
        ("model of 5,000 characters", train(model_name="x" * 5000), "422 model_name"),
        ("model with NUL", train(model_name="quick\0"), "422 model_name"),
        ("model with an ending", train(model_name="quick "), "422 model_name"),
        ("model in other letters that look alike", train(model_name="qui\u0441k"), "422 model_name"),
        ("model in upper case", train(model_name="QUICK"), "422 model_name"),
        ("attribute of Python", train(model_name="__class__"), "422 model_name"),
        ("field of Python", train(__class__={"__init__": 1}), "422 __class__"),
        ("prototype of JavaScript", train(__proto__={"admin": True}), "422 __proto__"),
        ("data set that leads up", dataset(name="../../outside"), "422 name"),
        ("data set that is hidden", dataset(name=".attack"), "422 name"),
        ("data set with a line break", dataset(name="attack\n"), "422 name"),
        ("data set with a slash", dataset(name="a/b"), "422 name"),
        ("data set with quotes", dataset(name="a\"'b"), "422 name"),
        ("column that mlsys keeps for itself", dataset(columns={"_mlsys_created": "number"}), "422 columns._mlsys_created"),
        ("column twice but for case", dataset(columns={"a": "number", "A": "number"}), "422 columns.A"),
        ("2,001 columns", dataset(columns={f"c{i}": "number" for i in range(2001)}), "422 columns"),
        ("type of a column", dataset(columns={"a": "pickle"}), "422 columns.a"),
        ("schedule that leads up", schedule(name="../attack"), "422 name"),
        ("schedule with a line break", schedule(name="a\nb"), "422 name"),
        ("kind of job that is none", schedule(kind="shell"), "422 kind"),
        ("event that is none", post("/webhooks", {**WEBHOOK, "events": ["model.*; DROP"]}), "422 events"),
        ("51 events", post("/webhooks", {**WEBHOOK, "events": ["*"] * 51}), "422 events"),
        ("version of nobody", post("/model/promote", {"model_name": "quick", "model_version_id": "../x"}), "422 model_version_id"),
        ("version of another model", post("/model/promote", {"model_name": "dated", "model_version_id": "$FIRST"}), "422 model_version_id"),
        ("run of nobody", get("/runs/x' OR '1'='1"), "400"),
    ),
    *rows(
        "cron",
        ("empty", schedule(cron=""), "422 cron"),
        ("seconds", schedule(cron="* * * * * *"), "422 cron"),
        ("minute 60", schedule(cron="60 * * * *"), "422 cron"),
        ("negative", schedule(cron="-1 * * * *"), "422 cron"),
        ("step 0", schedule(cron="*/0 * * * *"), "422 cron"),
        ("range backwards", schedule(cron="5-1 * * * *"), "422 cron"),
        ("31st of February", schedule(cron="0 0 31 2 *"), "422 cron"),
        ("a list of 5,000", schedule(cron=",".join(["1"] * 5000) + " * * * *"), "422 cron"),
        ("a number of 5,000 digits", schedule(cron="9" * 5000 + " * * * *"), "422 cron"),
        ("digits of another script", schedule(cron="\u0661 * * * *"), "422 cron"),
        ("an exponent", schedule(cron="1e1 * * * *"), "422 cron"),
        ("a command", schedule(cron="* * * * * rm -rf /"), "422 cron"),
        ("at reboot", schedule(cron="@reboot"), "422 cron"),
        ("a number", schedule(cron=5), "422 cron"),
        ("zone that is a path", schedule(timezone="../../../etc/passwd"), "422 timezone"),
        ("zone that is absolute", schedule(timezone="/etc/localtime"), "422 timezone"),
        ("zone that is a folder", schedule(timezone="Europe"), "422 timezone"),
        ("zone of 5,000 characters", schedule(timezone="x" * 5000), "422 timezone"),
        ("window of 10^30 days", schedule(window={"start": "-P" + "9" * 30 + "D", "end": "PT0S"}), "422 window.start"),
        ("window that ends before it starts", schedule(window={"start": "PT0S", "end": "-P1D"}), "422 window.end"),
        ("window of months", schedule(window={"start": "-P1M", "end": "PT0S"}), "422 window.start"),
        ("window with a third end", schedule(window={"start": "-P1D", "end": "PT0S", "more": 1}), "422 window.more"),
    ),
    *rows(
        "dates",
        ("day that is not", train(start_date="2020-02-30"), "422 start_date"),
        ("year 0", train(start_date="0000-01-01"), "422 start_date"),
        ("year 1", train(start_date="0001-01-01"), "422 start_date"),
        ("year 10000", train(end_date="10000-01-01"), "422 end_date"),
        ("year 9999", train(end_date="9999-12-31"), "422 end_date"),
        ("infinity of PostgreSQL", train(end_date="infinity"), "422 end_date"),
        ("now", train(end_date="now()"), "422 end_date"),
        ("seconds since 1970", train(start_date=1577836800), "422 start_date"),
        ("leap second", train(start_date="2016-12-31T23:59:60Z"), "422 start_date"),
        ("offset of 99 hours", train(start_date="2020-01-01T00:00:00+99:00"), "422 start_date"),
        ("digits of another script", train(start_date="\u0662\u0660\u0662\u0660-01-01"), "422 start_date"),
        ("no zone", train(start_date="2020-01-01T00:00:00"), "422 start_date"),
        ("line break at the end", train(start_date="2020-01-01\n"), "422 start_date"),
        ("end before start", train(end_date="2019-01-01"), "422 end_date"),
        ("end at start", train(start_date="2020-01-01T00:00:00Z", end_date="2020-01-01T00:00:00Z"), "422 end_date"),
        ("time travel to nowhere", train(time_travel=True), "422 time_travel_date"),
        ("as of never", get("/models?as_of=never"), "422 as_of"),
        ("as of year 9999", get("/models?as_of=9999-12-31"), "422 as_of"),
        ("backtest over nothing", backtest(step="PT0S"), "422 step"),
        ("backtest over 10^30 days", backtest(horizon="P" + "9" * 30 + "D"), "422 horizon"),
        ("backtest that refits -1 times", backtest(refit=-1), "422 refit"),
        ("backtest backwards", backtest(step="-P1D"), "422 step"),
        (
            "step of 1 s over 30 years",
            post("/models/dated/backfill", {"start_date": "1990-01-01", "end_date": "2020-01-01", "step": "PT1S"}),
            "422 step",
        ),
        (
            "step of nothing",
            post("/models/dated/backfill", {"start_date": "2020-01-01", "end_date": "2020-02-01", "step": "PT0S"}),
            "422 step",
        ),
    ),
    *rows(
        "numbers",
        ("page of 0", get("/runs?limit=0"), "422 limit"),
        ("page of -1", get("/runs?limit=-1"), "422 limit"),
        ("page of 10^400", get("/runs?limit=1" + "0" * 400), "422 limit"),
        ("page of 5,000 digits", get("/runs?limit=" + "9" * 5000), "422 limit"),
        ("page in hexadecimal", get("/runs?limit=0x10"), "422 limit"),
        ("page with a fraction", get("/runs?limit=1.5"), "422 limit"),
        ("page NaN", get("/runs?limit=nan"), "422 limit"),
        ("page given twice", get("/runs?limit=1&limit=2"), "422 limit"),
        ("cursor that nobody gave", get("/runs?cursor=AAAA"), "422 cursor"),
        ("cursor of JSON", get("/runs?cursor=eyJhIjoxfQ"), "422 cursor"),
        ("cursor with a negative number", get("/runs?cursor=LTE"), "422 cursor"),
        ("event after 2^63", get("/events?after_sequence=9223372036854775808"), "422 after_sequence"),
        ("event after -1", get("/events?after_sequence=-1"), "422 after_sequence"),
        ("wait of 10^9 s", get("/events?wait=1000000000"), "422 wait"),
        ("wait of infinity", get("/events?wait=inf"), "422 wait"),
        ("wait of NaN", get("/events?wait=nan"), "422 wait"),
        ("id of the last event", get("/events/stream", Last_Event_ID="9" * 5000), "422 Last-Event-ID"),
        ("delivery of 5,000 digits", post("/deliveries/" + "9" * 5000 + "/redeliver"), "404"),
        ("priority 101", train(priority=101), "422 priority"),
        ("priority true", train(priority=True), "422 priority"),
        ("replay after a text", post("/webhooks/$HOOK/replay?after_sequence=1;2"), "422 after_sequence"),
    ),
    *rows(
        "parameters",
        ("one that opens a file", params(output_model="/tmp/x"), "422 params.output_model"),
        ("one that reads a file", params(forcedsplits_filename="/etc/passwd"), "422 params.forcedsplits_filename"),
        ("one that reads settings", params(config="/etc/passwd"), "422 params.config"),
        ("one that calls machines", params(machines="127.0.0.1:1"), "422 params.machines"),
        ("another behind a space", params(learning_rate="0.1 output_model=/tmp/x"), "422 params.learning_rate"),
        ("another in the name", params(**{"seed 1 output_model": "/tmp/x"}), "422 params.seed 1 output_model"),
        ("another behind a line break", params(form="level\nconfig=/etc/passwd"), "422 params.form"),
        ("10^9 trees", params(num_iterations=10**9), "422 params.num_iterations"),
        ("no trees", params(num_iterations=0), "422 params.num_iterations"),
        ("seed of 400 digits", params(seed=10**400), "422 params.seed"),
        ("seed that is text", params(seed="1"), "422 params.seed"),
        ("seed that is true", params(seed=True), "422 params.seed"),
        ("rate of 1e308", params(learning_rate=1e308), "422 params.learning_rate"),
        ("parameters that are a list", train(params=[]), "422 params"),
        ("parameters in a parameter", params(seed={"$gt": 0}), "422 params.seed"),
        ("1,000 unknown ones", params(**{f"p{i}": 1 for i in range(1000)}), "422 20 fields"),
        ("of a schedule", schedule(params={"output_model": "/tmp/x"}), "422 params.output_model"),
    ),
]
