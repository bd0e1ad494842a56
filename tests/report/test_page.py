from PIL import Image

from mmreward.report.page import OVERVIEW_WIDTH, write_html, write_overview


def test_the_overview_stacks_the_reports_figures_in_their_order(tmp_path):
    (tmp_path / "figures").mkdir()
    for name, size, colour in (("b", (600, 100), "red"), ("a", (2400, 400), "blue")):
        Image.new("RGB", size, colour).save(tmp_path / "figures" / f"{name}.png")
    write_overview(
        tmp_path, "text\n![x](figures/b.png)\n![y](figures/image_1.jpg) ![z](figures/a.png)"
    )
    with Image.open(tmp_path / "overview.png") as sheet:
        assert sheet.size == (OVERVIEW_WIDTH, 200 + 200)
        assert sheet.getpixel((600, 100)) == (255, 0, 0)
        assert sheet.getpixel((600, 300)) == (0, 0, 255)


def test_a_report_without_figures_has_no_overview(tmp_path):
    write_overview(tmp_path, "words")
    assert not (tmp_path / "overview.png").exists()


def test_page_embeds_nothing_from_elsewhere(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"private")
    report = tmp_path / "run" / "report.md"
    report.parent.mkdir()
    report.write_text("# R\n\n![a](../secret.png) ![b](missing.png)\n")
    html = write_html(report).read_text()
    assert "base64" not in html and 'src="../secret.png"' in html
