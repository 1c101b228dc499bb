"""A2INet (papers: "Semantic-Aware and Quality-Aware Interaction Network for Blind VQA").

`runtime` scores with an exported model and needs no torch; `modules` and `export` need torch.
"""
