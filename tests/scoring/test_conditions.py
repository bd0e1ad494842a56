from dataclasses import replace

import numpy as np
from PIL import Image

from mmreward.records import Media, Message, Record, Response
from mmreward.scoring.conditions import blind_image, swap_images


def image(name, size=(8, 6)):
    return Media(draw=lambda: Image.new("RGB", size, (255, 0, 0)), key=name)


def record(question, images, category="colour"):
    content = (*range(len(images)), question)
    answers = (Response("yes", 0), Response("no", 1))
    return Record((Message("user", content),), answers, tuple(images), category=category)


def hashes(one):
    return {media.sha256 for media in one.media}


def test_blind_image_keeps_size_and_text_and_takes_the_content(tmp_path):
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 255, (5, 9, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    original = record("what?", [image("drawn"), Media(path=path)])
    blind = blind_image(original)
    assert [m.load().size for m in blind.media] == [(8, 6), (9, 5)]
    for media in blind.media:
        assert len(media.load().getcolors()) == 1
    assert (blind.messages, blind.responses) == (original.messages, original.responses)
    assert hashes(blind).isdisjoint(hashes(original))


def test_blind_images_of_two_sizes_have_two_names():
    small, large = record("q", [image("a")]), record("q", [image("b", (20, 20))])
    assert hashes(blind_image(small)) != hashes(blind_image(large))


def test_no_image_no_control():
    text = record("what?", [])
    assert blind_image(text) is None
    assert swap_images([text, text]) == [None, None]


def test_swap_never_keeps_an_own_image_although_many_records_share_one():
    # 30 records over 4 images in blocks: shifting rows by one would keep most images.
    images = [image(f"image {i}") for i in range(4)]
    records = [record(f"question {i}", [images[i // 10]]) for i in range(30)]
    records += [record("question 30", [images[3]])]
    swapped = swap_images(records)
    for before, after in zip(records, swapped, strict=True):
        assert hashes(before).isdisjoint(hashes(after))
        assert after.messages == before.messages and after.responses == before.responses
    donors = {next(iter(hashes(after))) for after in swapped[:10]}
    assert donors == {media.sha256 for media in images[1:]}


def test_swap_stays_within_category_and_number_of_images():
    colours = [record("a", [image("c1")]), record("b", [image("c2")])]
    shapes = [record("a", [image("s1")], "shape"), record("b", [image("s2")], "shape")]
    doubles = [record("a", [image("d1"), image("d2")]), record("b", [image("d3"), image("d4")])]
    swapped = swap_images([*colours, *shapes, *doubles])
    for two in (colours, shapes, doubles):
        start = [*colours, *shapes, *doubles].index(two[0])
        assert hashes(swapped[start]) == hashes(two[1])
        assert hashes(swapped[start + 1]) == hashes(two[0])


def test_swap_needs_a_donor_that_shares_no_image():
    shared = image("shared")
    records = [record("a", [shared, image("x")]), record("b", [image("y"), shared])]
    assert swap_images(records) == [None, None]
    assert swap_images([record("a", [shared]), record("b", [shared])]) == [None, None]


def test_swap_follows_the_seed_and_treats_equal_records_alike():
    records = [record(f"q{i}", [image(f"i{i}")]) for i in range(20)]
    records.append(replace(records[0]))
    first = [hashes(r) for r in swap_images(records, seed=0)]
    assert first == [hashes(r) for r in swap_images(records, seed=0)]
    assert first != [hashes(r) for r in swap_images(records, seed=1)]
    assert first[0] == first[-1]
