"""What `tgp export` reads of a run beside its weights."""

from tgp_multimodal.verbs import export as verb


def test_a_line_of_metrics_that_a_kill_has_cut_is_left_out(tmp_path):
    file = tmp_path / "metrics.csv"
    whole = "step,validation/text,train/text\n9,2.5,\n10,,2.4\n19,2.25,\n"
    for cut in ("", "2", "29,", "29,1", "29,1.25e-"):
        file.write_text(whole + cut, "utf-8")
        assert verb._last_metrics(file, None) == ({"validation/text": 2.25}, 20)
    assert verb._last_metrics(file, 15) == ({"validation/text": 2.5}, 10)
