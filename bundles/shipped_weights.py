"""Which weights the stored training notes and scores are of: SHA-256 of ``models/model.pt``, by bundle."""

WEIGHTS = {
    "brainstem_ct_segmentation": "bad147b1d7c17809de1454c7e32c8bc8288a7011c753eab0ac58f4463eb085fa",
    "eye_left_ct_segmentation": "716911aef67a24d104fbf99b6d4424567d687a574a554a99f602d631d0876c53",
    "eye_right_ct_segmentation": "132ecfa06c346b619a403e04533295f13611e33badec164a74f5fddec936cf6f",
    "hn_ct_localizer": "f0b8a3de80f2d866329a5f4c9727e47545ba367963d42f46f969565551955b1a",
    "hn_ct_two_stage": "a58ebc42ad71ce4e8b206389acba7a5e0076dd3611232faeb0683e30176cfb4f",
    "mandible_ct_segmentation": "85e59eea8a41cd5a2a77cde88cc3930c371cdb482169304ad136653e3965ff4c",
    "optic_nerve_left_ct_segmentation": "266e366a1efea06b34b70b73849d814f9ba002e0537c8023815ab685fd0c994c",
    "optic_nerve_right_ct_segmentation": "e19583a453d2c44c77135d7a2f117b874ec420720043dce0415c75ddcccf6234",
    "parotid_left_ct_segmentation": "cde26555dd784124b4e209c5fb9d30fe3fa2269e19305ec22b5c1efacf5cfcdd",
    "parotid_right_ct_segmentation": "92b016e7d43d2128090e0b5555231457f2ae386a76441e029ccabb5b49949e88",
}
