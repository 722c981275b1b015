"""Files to samples to batches.

readers       path -> raw source           one file a format: class_folders, image_folder, annotations, table, idx, text, tokens
split         source -> train, validation  by key, stored as names
pipelines     source -> samples            image_pipeline (images, transforms), text_pipeline (tokenizer, tokens)
order         which samples a step takes
loader        samples -> batches           in this process or in workers
fingerprint   what the data was, and how it differs from what it was
check         what is wrong with the data, before a run finds out; duplicates: which images are one picture
stats         what the data is made of
"""
